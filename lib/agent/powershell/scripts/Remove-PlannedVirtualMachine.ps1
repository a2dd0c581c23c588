<#
.SYNOPSIS
    Takes back an import: removes the planned VM, never its disks.
.DESCRIPTION
    Input: { settings, vmId }. Output: { removed }. Gone already is fine.
    Source: hyperv.md 1.8, restore (DestroySystem on failure).
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
    $namespace = $Request.settings.namespace
    $service = Get-GcbService -Namespace $namespace -ClassName Msvm_VirtualSystemManagementService
    $planned = Get-CimInstance -Namespace $namespace -ClassName Msvm_PlannedComputerSystem -Filter (Format-GcbFilter -Property 'Name' -Value $Request.vmId) | Select-Object -First 1

    if ($null -ne $planned) {
        [void](Invoke-GcbMethod -Target $service -MethodName DestroySystem -Arguments @{ AffectedSystem = $planned } -Subject $Request.vmId -TimeoutMs ([long]$Request.settings.callTimeoutMs))
    }
    [ordered]@{ removed = ($null -ne $planned) }
}
