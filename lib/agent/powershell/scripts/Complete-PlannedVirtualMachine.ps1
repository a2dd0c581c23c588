<#
.SYNOPSIS
    Turns a planned VM into a VM. It is not started.
.DESCRIPTION
    Input: { settings, vmId }. Output: { vmId }. Realized already is fine.
    Source: hyperv.md 1.8, restore (RealizePlannedSystem).
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

    if ($null -eq $planned) {
        if ($null -eq (Get-GcbVirtualSystem -Namespace $namespace -VmId $Request.vmId)) {
            Stop-GcbVerb -Code 'HV_NOT_FOUND' -Subject $Request.vmId -Message "There is neither a planned VM nor a VM $($Request.vmId)." -Remedy 'Import the configuration again.'
        }
    }
    else {
        [void](Invoke-GcbMethod -Target $service -MethodName RealizePlannedSystem -Arguments @{ PlannedSystem = $planned } -Subject $Request.vmId -TimeoutMs ([long]$Request.settings.callTimeoutMs))
    }
    [ordered]@{ vmId = [string]$Request.vmId }
}
