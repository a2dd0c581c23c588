<#
.SYNOPSIS
    The volume that holds each path, for a storage snapshot.
.DESCRIPTION
    Input: { paths }. Output: { volumes: [{ path, directory, deviceId, fileSystem }] }; a path on no local volume has
    deviceId "" (an SMB share needs the file share provider, hyperv.md 2.3).
    Source: cimwin32prov Win32_Volume (Name, DeviceID, FileSystem). INFERRED: a CSV is listed by its folder.
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
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Wmi.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.State.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.HyperV.psm1'))

Invoke-GcbVerb -Payload $Payload -Call $Call -Body {
    param([pscustomobject] $Request)
    $volumes = @(Get-CimInstance -Namespace 'root/cimv2' -ClassName Win32_Volume | Where-Object -FilterScript { [string]$_.Name -ne '' })
    $found = New-Object -TypeName System.Collections.ArrayList
    foreach ($path in @($Request.paths)) {
        $volume = Get-GcbVolume -Volumes $volumes -Path $path
        [void]$found.Add([ordered]@{
                path       = [string]$path
                directory  = [string](Get-GcbProperty -InputObject $volume -Name 'Name')
                deviceId   = [string](Get-GcbProperty -InputObject $volume -Name 'DeviceID')
                fileSystem = [string](Get-GcbProperty -InputObject $volume -Name 'FileSystem')
            })
    }
    [ordered]@{ volumes = $found.ToArray() }
}
