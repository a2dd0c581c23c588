<#
.SYNOPSIS
    Prepares a new shell and says which PowerShell it is.
.DESCRIPTION
    Progress records would end up in the error stream of a shell that is driven through pipes.
    Input: {}. Output: { version, edition, processId }.
    Source: this project.
#>
#requires -Version 5.1
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [ValidatePattern('^[A-Za-z0-9+/]+=*$')] [string] $Payload,
    [Parameter(Mandatory = $true)] [ValidatePattern('^[0-9a-f]+$')] [string] $Call
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Protocol.psm1'))

Invoke-GcbVerb -Payload $Payload -Call $Call -Body {
    param([pscustomobject] $Request)
    $global:ProgressPreference = 'SilentlyContinue'
    try { [Console]::OutputEncoding = New-Object -TypeName System.Text.UTF8Encoding -ArgumentList $false }
    catch { [Console]::Error.WriteLine('Output encoding unchanged: ' + $_.Exception.Message) }
    [ordered]@{
        version   = [string]$PSVersionTable.PSVersion
        edition   = [string]$PSVersionTable.PSEdition
        processId = $PID
    }
}
